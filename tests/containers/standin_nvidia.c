/* A Vulkan driver with one device that draws nothing: it stands for libGLX_nvidia.so.0 and libEGL_nvidia.so.0.
   The device's name tells which library was loaded, and what of its companions (COMPANIONS) or of the file
   OPTIX it did not find: NVIDIA's driver, too, opens those by name when an instance is made.
   Check: tests/containers/test_layouts.py, which compiles it once for every version and library. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef void (*Function)(void);
static uintptr_t instance = 0x01CDC0DE, device = 0x01CDC0DE; /* the loader's mark, where it puts its table */
static char name[256];

static int create_instance(const void *info, const void *memory, void **made) {
    static const char *companions[] = {COMPANIONS};
    strcpy(name, "stand-in NVIDIA " VERSION " as " LIBRARY);
    for (unsigned i = 0; i < sizeof companions / sizeof *companions; i++)
        if (!dlopen(companions[i], RTLD_NOW | RTLD_LOCAL))
            snprintf(name + strlen(name), sizeof name - strlen(name), " without %s", companions[i]);
    if (access(OPTIX, R_OK))
        snprintf(name + strlen(name), sizeof name - strlen(name), " without %s", OPTIX);
    *made = &instance;
    return 0;
}
static int no_extensions(const char *layer, uint32_t *count, void *list) { return *count = 0; }
static int no_device_extensions(void *of, const char *layer, uint32_t *count, void *list) { return *count = 0; }
static int version(uint32_t *answer) { return *answer = 1 << 22 | 3 << 12, 0; }
static int devices(void *of, uint32_t *count, void **list) {
    if (list && *count < 1) return 5; /* VK_INCOMPLETE */
    if (list) *list = &device;
    return *count = 1, 0;
}
static void properties(void *of, unsigned char *answer) {
    uint32_t head[] = {1 << 22 | 3 << 12, 1, 0x10de, 1, 2}; /* ..., NVIDIA, ..., a discrete GPU */
    memcpy(answer, head, sizeof head);
    memcpy(answer + sizeof head, name, sizeof name);
}
static void no_families(void *of, uint32_t *count, void *list) { *count = 0; }
static int nothing(void) { return 0; }

Function vk_icdGetInstanceProcAddr(void *of, const char *asked) {
    static const struct { const char *name; Function function; } known[] = {
        {"vkCreateInstance", (Function)create_instance},
        {"vkEnumerateInstanceExtensionProperties", (Function)no_extensions},
        {"vkEnumerateInstanceVersion", (Function)version},
        {"vkEnumeratePhysicalDevices", (Function)devices},
        {"vkEnumerateDeviceExtensionProperties", (Function)no_device_extensions},
        {"vkGetPhysicalDeviceProperties", (Function)properties},
        {"vkGetPhysicalDeviceQueueFamilyProperties", (Function)no_families},
    };
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(asked, known[i].name)) return known[i].function;
    char last = asked[strlen(asked) - 1]; /* of an extension: KHR, EXT */
    if (strstr(asked, "Groups") || (last >= 'A' && last <= 'Z')) return NULL;
    return (Function)nothing;
}
Function vk_icdGetPhysicalDeviceProcAddr(void *of, const char *asked) { return NULL; }
int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *asked) {
    if (*asked > 5) *asked = 5;
    return 0;
}
